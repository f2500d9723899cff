"""What inference takes: images, folders, videos, cameras."""
