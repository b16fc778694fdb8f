"""Datalog: text or data, to typed records (`parser`), to flat conjunctions (`expand`), to SQL (`compiler`), to rows."""
