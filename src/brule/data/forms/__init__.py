"""The files of labelling tools: a module a tool, which reads its form and, where it takes proposals, writes it."""
