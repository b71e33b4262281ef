"""Views: the antialiased crop and the Kornia pipelines, on the device."""
