"""Message brokers as a way for events to take: RabbitMQ, Redis Streams and Kafka.

Each broker is one module with two ends: an outlet, which the provider publishes through, and an intake, which
a consumer process reads. `open_broker` says which module a URL means. The client libraries are an extra
(``pip install 'hookbench[brokers]'``), imported only when their broker is used.
"""
