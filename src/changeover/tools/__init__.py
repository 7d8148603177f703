"""Declarative internal tools: small applications on top of tasks, which they call as any application does."""
