"""N-gram language models: learn them (kneser_ney), exchange them (arpa), score with them (model)."""
