"""A folder for Azure Load Testing, whose engines execute one run in independent parts."""
