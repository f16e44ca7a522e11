"""One file a resource of the OpenAI API."""
