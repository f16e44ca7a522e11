"""The OpenAI API: the application, its routes, its errors."""
