"""Transport over RabbitMQ: Celery carries commands, kombu publishes, pika consumes reports. The only package that knows a broker.

The boss declares everything; a child may only read its own queues and write its own exchange. Queues of messages are quorum
queues with a delivery limit and a dead-letter queue; every message is persistent, confirmed and mandatory.
"""

from luhyaapi.wire.amqp.down import AmqpDownLink
from luhyaapi.wire.amqp.up import AmqpUpLink

__all__ = ["AmqpDownLink", "AmqpUpLink"]
