"""The reporter of the service before Milepost, as its workers use it today: over a plain connection, PUBLISH and then
SETEX. What it loses when Redis is away, it loses."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Optional

import redis.asyncio


class ProgressReporter:
    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.redis: Any = None

    async def initialize(self) -> None:
        self.redis = redis.asyncio.from_url(self.redis_url)

    async def report(
        self, job_id: str, stage: str, progress: float, message: str = "", metadata: Optional[dict[str, Any]] = None
    ) -> None:
        update = {
            "job_id": job_id,
            "status": "processing",
            "stage": stage,
            "progress": min(1.0, max(0.0, progress)),
            "message": message,
            "timestamp": datetime.utcnow().isoformat(),
        }
        if metadata:
            update["metadata"] = metadata
        await self._publish(job_id, update)

    async def report_error(self, job_id: str, error: str, stage: str = "error") -> None:
        update = {
            "job_id": job_id,
            "status": "failed",
            "stage": stage,
            "progress": 0.0,
            "message": f"Error: {error}",
            "error": error,
            "timestamp": datetime.utcnow().isoformat(),
        }
        await self._publish(job_id, update)

    async def report_complete(self, job_id: str, result: Any, message: str = "Job completed") -> None:
        update = {
            "job_id": job_id,
            "status": "completed",
            "stage": "complete",
            "progress": 1.0,
            "message": message,
            "result": result,
            "timestamp": datetime.utcnow().isoformat(),
        }
        await self._publish(job_id, update)

    async def get_status(self, job_id: str) -> Optional[dict[str, Any]]:
        found = await self.redis.get(f"job_status:{job_id}")
        status: Optional[dict[str, Any]] = json.loads(found) if found else None
        return status

    async def close(self) -> None:
        await self.redis.aclose()

    async def _publish(self, job_id: str, update: dict[str, Any]) -> None:
        try:
            text = json.dumps(update)
            await self.redis.publish(f"job_progress:{job_id}", text)
            await self.redis.setex(f"job_status:{job_id}", 3600, text)
        except Exception as error:
            print(f"Failed to report progress: {error}")
