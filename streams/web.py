"""What a worker shows over HTTP: /live, /ready, /metrics, and what the commands read. It only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams import metrics, views
from streams.ledger import Situation

if TYPE_CHECKING:
    from streams.service import App


def register(app: App) -> None:
    """Add the pages to the app."""
    pipeline = app.pipeline

    @app.page("/live")
    async def live(self: Any, request: Any) -> Any:
        return self.json({"live": True})

    @app.page("/ready")
    async def ready(self: Any, request: Any) -> Any:
        state = views.readiness(pipeline)
        return self.json(state, status=200 if state["ready"] else 503)

    @app.page("/metrics")
    async def figures(self: Any, request: Any) -> Any:
        return self.text(metrics.exposition(pipeline), content_type="text/plain")

    @app.page("/sync/status")
    async def status(self: Any, request: Any) -> Any:
        return self.json(views.status(pipeline))

    @app.page("/sync/user/{key}")
    async def user(self: Any, request: Any, key: str) -> Any:
        found = views.user(pipeline, key)
        if found is None:
            return self.json({"owner": views.owner(pipeline, key)}, status=421)
        return self.json(found)

    @app.page("/sync/standing/{situation}")
    async def standing(self: Any, request: Any, situation: str) -> Any:
        limit = request.query.get("limit")
        asked = (Situation(situation), request.query.get("reason", ""), int(limit) if limit else None)
        return self.json(await views.standing(pipeline, *asked))

    @app.page("/sync/whose")
    async def whose(self: Any, request: Any) -> Any:
        return self.json(await views.whose(pipeline, request.query.getall("sub", [])))

    @app.page("/sync/applied")
    async def applied(self: Any, request: Any) -> Any:
        return self.json(views.applied(pipeline, request.query.getall("id", [])))
