"""Studies: a question put to several policies, answered by a table, a picture and some sentences."""
