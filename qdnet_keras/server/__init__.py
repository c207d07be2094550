"""A local model server that speaks the API of TF-Serving, for development and tests.

Production is TF-Serving itself. This server is for machines without it: the same requests, answers
and status codes, over the same session loader, written in Python and so slower under load. It has
Predict, metadata, status and health of one model, not TF-Serving's other services.

    requests ──▶ grpc_api / rest_api ──▶ service ──▶ admission ──▶ versions ──▶ servable
"""
