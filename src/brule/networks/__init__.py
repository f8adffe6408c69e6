"""The five networks of the paper, section 3: they know shapes, and no loss, file or parameter section."""
