"""`dinocli export`: write a backbone in another format with a model card."""
