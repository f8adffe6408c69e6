"""The files of landmarks: a module a form, of labelling tools and of brule itself, which reads it and may write it."""
