"""The resources of the API, the table of its operations, and reads over several accounts."""
