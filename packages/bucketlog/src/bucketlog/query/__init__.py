"""Datalog: from forms to records (`parser`), flat conjunctions (`expand`), SQL (`compiler`) and rows."""
