"""The detector as a server: what is asked and answered in JSON, over HTTP and as a model of MLflow."""
