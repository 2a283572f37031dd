BEGIN TRANSACTION;
CREATE TABLE assistants (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	namespace VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	created_at BIGINT NOT NULL, 
	deleted BOOLEAN DEFAULT false NOT NULL, 
	body JSON NOT NULL, 
	CONSTRAINT assistants_id UNIQUE (namespace, id)
);
INSERT INTO "assistants" VALUES(1,'default','asst_ikhV6mjT4NwpkkohCBzgVZQ3',1796083183,0,'{"model": "gpt-4.1", "instructions": "Answer with a table.", "metadata": {"team": "sales"}, "name": "Analyst", "tools": [{"type": "code_interpreter"}]}');
CREATE TABLE containers (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	namespace VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	created_at BIGINT NOT NULL, 
	deleted BOOLEAN DEFAULT false NOT NULL, 
	body JSON NOT NULL, 
	thread_id VARCHAR NOT NULL, 
	used_at BIGINT NOT NULL, 
	FOREIGN KEY(namespace, thread_id) REFERENCES threads (namespace, id) ON DELETE CASCADE, 
	CONSTRAINT containers_id UNIQUE (namespace, id)
);
INSERT INTO "containers" VALUES(1,'default','cntr_86263819bc053610f01a4d4758e98feeed7eb8a1fa1ada3c',1796083183,0,'{"type": "auto"}','thread_D36Jk7Y6A846cV4m30xZGJvo',1796083183);
CREATE TABLE files (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	namespace VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	created_at BIGINT NOT NULL, 
	deleted BOOLEAN DEFAULT false NOT NULL, 
	body JSON NOT NULL, 
	thread_id VARCHAR, 
	run_id VARCHAR, 
	container_id VARCHAR, 
	container_file_id VARCHAR, 
	stored BOOLEAN NOT NULL, 
	sha256 VARCHAR, 
	trouble VARCHAR, 
	CONSTRAINT files_id UNIQUE (namespace, id)
);
INSERT INTO "files" VALUES(1,'default','file-ACIShuIzTHyPVwSB34MXNPH2',1796083183,0,'{"filename": "/mnt/data/sales.csv", "bytes": 23}','thread_D36Jk7Y6A846cV4m30xZGJvo','run_rYsxEMM858G4LaCH9Z40tnbT','cntr_86263819bc053610f01a4d4758e98feeed7eb8a1fa1ada3c','cfile_9fdc015819b6b547cadf27f7ab9e6049',1,'59eaeb8e7e855819c1f6c21f34293327a1a08e4fdbcac96be2e607866aa4f1be',NULL);
CREATE TABLE messages (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	namespace VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	created_at BIGINT NOT NULL, 
	deleted BOOLEAN DEFAULT false NOT NULL, 
	body JSON NOT NULL, 
	thread_id VARCHAR NOT NULL, 
	run_id VARCHAR, 
	kind VARCHAR DEFAULT 'message' NOT NULL, 
	FOREIGN KEY(namespace, thread_id) REFERENCES threads (namespace, id) ON DELETE CASCADE, 
	CONSTRAINT messages_id UNIQUE (namespace, id)
);
INSERT INTO "messages" VALUES(1,'default','msg_wzb5cbrrrzExmIyYUz7AUy4c',1796083183,0,'{"id": "msg_wzb5cbrrrzExmIyYUz7AUy4c", "object": "thread.message", "created_at": 1796083183, "assistant_id": null, "thread_id": "thread_D36Jk7Y6A846cV4m30xZGJvo", "run_id": null, "status": "completed", "incomplete_details": null, "incomplete_at": null, "completed_at": null, "role": "user", "content": [{"type": "text", "text": {"value": "Sales by region?", "annotations": []}}], "attachments": [], "metadata": {}}','thread_D36Jk7Y6A846cV4m30xZGJvo',NULL,'message');
INSERT INTO "messages" VALUES(2,'default','msg_I7TmqSPyUB3k8Jn9dGxUW2OK',1796083183,0,'{"id": "msg_I7TmqSPyUB3k8Jn9dGxUW2OK", "items": [{"type": "code_interpreter_call", "id": "ci_13038c9347613837d15da506c7bea81df303702184a2b3ed04", "status": "completed", "container_id": "cntr_86263819bc053610f01a4d4758e98feeed7eb8a1fa1ada3c", "code": "open(''sales.csv'')", "outputs": []}], "until": 1796084323}','thread_D36Jk7Y6A846cV4m30xZGJvo','run_rYsxEMM858G4LaCH9Z40tnbT','item');
INSERT INTO "messages" VALUES(3,'default','msg_QDwiQCPUJo0h4D9NbktgvLto',1796083183,0,'{"id": "msg_QDwiQCPUJo0h4D9NbktgvLto", "object": "thread.message", "created_at": 1796083183, "assistant_id": "asst_ikhV6mjT4NwpkkohCBzgVZQ3", "thread_id": "thread_D36Jk7Y6A846cV4m30xZGJvo", "run_id": "run_rYsxEMM858G4LaCH9Z40tnbT", "status": "completed", "incomplete_details": null, "incomplete_at": null, "completed_at": 1796083183, "role": "assistant", "content": [{"type": "text", "text": {"value": "Done: [table](sandbox:/mnt/data/sales.csv)", "annotations": [{"type": "file_path", "text": "sandbox:/mnt/data/sales.csv", "start_index": 14, "end_index": 41, "file_path": {"file_id": "file-ACIShuIzTHyPVwSB34MXNPH2"}}]}}], "attachments": [{"file_id": "file-ACIShuIzTHyPVwSB34MXNPH2", "tools": [{"type": "code_interpreter"}]}], "metadata": {}}','thread_D36Jk7Y6A846cV4m30xZGJvo','run_rYsxEMM858G4LaCH9Z40tnbT','message');
CREATE TABLE runs (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	namespace VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	created_at BIGINT NOT NULL, 
	deleted BOOLEAN DEFAULT false NOT NULL, 
	body JSON NOT NULL, 
	thread_id VARCHAR NOT NULL, 
	assistant_id VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	expires_at BIGINT NOT NULL, 
	response_id VARCHAR, 
	request JSON NOT NULL, 
	state JSON NOT NULL, 
	lease_until BIGINT NOT NULL, 
	FOREIGN KEY(namespace, thread_id) REFERENCES threads (namespace, id) ON DELETE CASCADE, 
	CONSTRAINT runs_id UNIQUE (namespace, id)
);
INSERT INTO "runs" VALUES(1,'default','run_rYsxEMM858G4LaCH9Z40tnbT',1796083183,0,'{"id": "run_rYsxEMM858G4LaCH9Z40tnbT", "object": "thread.run", "created_at": 1796083183, "assistant_id": "asst_ikhV6mjT4NwpkkohCBzgVZQ3", "thread_id": "thread_D36Jk7Y6A846cV4m30xZGJvo", "status": "completed", "started_at": 1796083183, "expires_at": null, "cancelled_at": null, "failed_at": null, "completed_at": 1796083183, "required_action": null, "last_error": null, "model": "gpt-4.1", "instructions": "Answer with a table.", "tools": [{"type": "code_interpreter"}], "tool_resources": {}, "metadata": {}, "temperature": 1.0, "top_p": 1.0, "reasoning_effort": null, "max_completion_tokens": null, "max_prompt_tokens": null, "truncation_strategy": {"type": "auto", "last_messages": null}, "incomplete_details": null, "usage": {"prompt_tokens": 9, "completion_tokens": 41, "total_tokens": 50, "prompt_token_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}, "response_format": "auto", "tool_choice": "auto", "parallel_tool_calls": true}','thread_D36Jk7Y6A846cV4m30xZGJvo','asst_ikhV6mjT4NwpkkohCBzgVZQ3','completed',1796083783,'resp_cf23d1ec1a0a79e4987ea6e1d01758c7a761c0105aae4967a8','{"model": "gpt-4.1", "store": true, "background": true, "instructions": "Answer with a table.", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}], "include": ["code_interpreter_call.outputs"]}','{"usage": {"prompt_tokens": 9, "completion_tokens": 41, "total_tokens": 50, "prompt_token_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}, "sent": [], "cuts": 0, "plain": false, "container": {"type": "auto"}, "responses": ["resp_cf23d1ec1a0a79e4987ea6e1d01758c7a761c0105aae4967a8"], "step_usage": {"prompt_tokens": 9, "completion_tokens": 41, "total_tokens": 50, "prompt_token_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}}',0);
CREATE TABLE schema_version (
	version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE steps (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	namespace VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	created_at BIGINT NOT NULL, 
	deleted BOOLEAN DEFAULT false NOT NULL, 
	body JSON NOT NULL, 
	run_id VARCHAR NOT NULL, 
	thread_id VARCHAR NOT NULL, 
	FOREIGN KEY(namespace, run_id) REFERENCES runs (namespace, id) ON DELETE CASCADE, 
	CONSTRAINT steps_id UNIQUE (namespace, id)
);
INSERT INTO "steps" VALUES(1,'default','step_lZtprSHKHPN6UovWFKZgnA9J',1796083183,0,'{"id": "step_lZtprSHKHPN6UovWFKZgnA9J", "object": "thread.run.step", "created_at": 1796083183, "run_id": "run_rYsxEMM858G4LaCH9Z40tnbT", "assistant_id": "asst_ikhV6mjT4NwpkkohCBzgVZQ3", "thread_id": "thread_D36Jk7Y6A846cV4m30xZGJvo", "type": "tool_calls", "status": "completed", "cancelled_at": null, "completed_at": 1796083183, "expires_at": null, "failed_at": null, "last_error": null, "step_details": {"type": "tool_calls", "tool_calls": [{"id": "call_KUfWNxpgzYylDNGs55pVnS0j", "type": "code_interpreter", "code_interpreter": {"input": "open(''sales.csv'')", "outputs": []}}]}, "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_token_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}, "expired_at": null, "metadata": {}}','run_rYsxEMM858G4LaCH9Z40tnbT','thread_D36Jk7Y6A846cV4m30xZGJvo');
INSERT INTO "steps" VALUES(2,'default','step_WQPIcfvWtYmu1deDP1IB4080',1796083183,0,'{"id": "step_WQPIcfvWtYmu1deDP1IB4080", "object": "thread.run.step", "created_at": 1796083183, "run_id": "run_rYsxEMM858G4LaCH9Z40tnbT", "assistant_id": "asst_ikhV6mjT4NwpkkohCBzgVZQ3", "thread_id": "thread_D36Jk7Y6A846cV4m30xZGJvo", "type": "message_creation", "status": "completed", "cancelled_at": null, "completed_at": 1796083183, "expires_at": null, "failed_at": null, "last_error": null, "step_details": {"type": "message_creation", "message_creation": {"message_id": "msg_QDwiQCPUJo0h4D9NbktgvLto"}}, "usage": {"prompt_tokens": 9, "completion_tokens": 41, "total_tokens": 50, "prompt_token_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}, "expired_at": null, "metadata": {}}','run_rYsxEMM858G4LaCH9Z40tnbT','thread_D36Jk7Y6A846cV4m30xZGJvo');
CREATE TABLE threads (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	namespace VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	created_at BIGINT NOT NULL, 
	deleted BOOLEAN DEFAULT false NOT NULL, 
	body JSON NOT NULL, 
	CONSTRAINT threads_id UNIQUE (namespace, id)
);
INSERT INTO "threads" VALUES(1,'default','thread_D36Jk7Y6A846cV4m30xZGJvo',1796083183,0,'{"metadata": {"user": "7"}}');
INSERT INTO "threads" VALUES(2,'default','thread_gTsgfSrD0ZwUSKG3ikZFx7ht',1796083183,1,'{}');
CREATE INDEX files_of_thread ON files (namespace, thread_id, seq);
CREATE INDEX messages_of_thread ON messages (namespace, thread_id, seq);
CREATE UNIQUE INDEX one_active_run ON runs (namespace, thread_id) WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling');
CREATE INDEX runs_of_thread ON runs (namespace, thread_id, seq);
CREATE INDEX containers_of_thread ON containers (namespace, thread_id, seq);
CREATE INDEX steps_of_run ON steps (namespace, run_id, seq);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('assistants',1);
INSERT INTO "sqlite_sequence" VALUES('threads',2);
INSERT INTO "sqlite_sequence" VALUES('messages',3);
INSERT INTO "sqlite_sequence" VALUES('runs',1);
INSERT INTO "sqlite_sequence" VALUES('containers',1);
INSERT INTO "sqlite_sequence" VALUES('steps',2);
INSERT INTO "sqlite_sequence" VALUES('files',1);
COMMIT;
