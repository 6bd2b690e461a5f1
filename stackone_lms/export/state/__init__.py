"""What an export remembers: the journal of each list, the manifest, and the files below them."""
