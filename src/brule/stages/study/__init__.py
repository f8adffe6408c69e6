"""A search for coefficients that many workers share and any kill may interrupt: where it is kept, who works at it."""
