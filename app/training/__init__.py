"""Training a dual-task network on drawn images or folders of images; the job is app/train.py."""
