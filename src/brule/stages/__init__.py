"""What the pipeline and its tools do: each script of pipelines/ calls one of these."""
