"""Sending requests for the commands that query a model: one request, a file of rows, classify and regress."""
