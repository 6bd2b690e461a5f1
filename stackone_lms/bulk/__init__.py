"""Fetching any number of records by id: `get_many`, its queue of ids, and the choice between gets and list pages."""
