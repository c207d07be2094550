"""The file formats of photographs: bytes to `Photo` and back.

Pixels are decoded by libraries straight to arrays at their full depth. Metadata is carried as raw
bytes, so nothing in it is re-interpreted. Messages of the errors raised here lack the file's name:
`photos.files` puts it in front.
"""
