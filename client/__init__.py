"""The narrator's side: a script in, a folder of numbered WAV files out."""
