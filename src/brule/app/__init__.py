"""The application on this computer: the page at / and the API at /invocations."""
