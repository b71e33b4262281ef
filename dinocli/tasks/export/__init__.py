"""`dinocli export`: write a backbone in another format (`export`) with a model card (`card`)."""
