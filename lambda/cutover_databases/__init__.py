"""The databases of the chain as the functions of the cutover reach them."""
