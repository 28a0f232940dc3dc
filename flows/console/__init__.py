"""What other programs and people reach over HTTP: the REST API and the web hook."""
