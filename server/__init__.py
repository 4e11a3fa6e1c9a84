"""The server: speaks one sentence at a time in one cloned voice and stores none of it. Asks nothing of client/."""
