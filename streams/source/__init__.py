"""The source side: the connector's configuration, SQL for the DBA, topics, and Kafka Connect's REST interface."""
