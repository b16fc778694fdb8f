"""AWS as values: what should be there, what is, what differs, and how the one becomes the other.

`resource` is what should be, `kinds` read and change one kind of thing each, `graph` orders, `plan` compares,
`apply` acts, `template` says the same to CloudFormation. There is no state file: things are known by their
names and by the tag `tagboat:component`.
"""
