"""Pages for a browser: bring data, train, make, compare. They hold no logic, they ask the API as everyone does."""
