"""`rxf prepare`: official data files to fairseq's binary form."""
