//! Model providers: OpenAI Responses, OpenAI Chat Completions, Anthropic Messages, scripted.
