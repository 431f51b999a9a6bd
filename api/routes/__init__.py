"""HTTP routes: each reads its request, calls one pure answer and returns it."""
