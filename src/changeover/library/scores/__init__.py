"""Two judgements of a model, made of dated inputs: how familiar it is, and how well it is supported. Pure; `app` feeds them."""
