"""HTTP around pipelines and a queue of jobs: OpenAI's shapes, and our own where it has none."""
