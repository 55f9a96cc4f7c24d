"""The contract between the services: Avro schemas, their ids, and the topics."""
