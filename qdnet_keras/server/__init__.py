"""A local model server that speaks the API of TF-Serving, for development and tests.

Production is TF-Serving itself. This server is for machines without it: the same requests, answers
and status codes, written in Python and so slower under load. It has Predict, metadata, status and
health of one model, not TF-Serving's other services. One event loop receives and answers; models
compute in threads.

    requests ──▶ grpc_api / rest_api ──▶ service ──▶ admission ──▶ versions ──▶ servable
"""
