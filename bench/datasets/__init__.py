"""Sets of images: what a track is made of, and where its images come from."""
