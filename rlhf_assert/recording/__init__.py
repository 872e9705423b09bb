"""What a training leaves on disk: written while it runs (`Recorder`), and read back (`Run`)."""
