-- Marks each user's row with a growing number, so that the order of what arrives at cidaas can be judged.
-- For the fault tests only. A trigger runs with the row locked: per user, the numbers grow in the order of commits.

CREATE SEQUENCE fault_version;

CREATE FUNCTION fault_mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- What changes nothing, or a lazy column only, stays what it is.
  IF TG_OP = 'INSERT' OR to_jsonb(NEW) - 'last_login_at' IS DISTINCT FROM to_jsonb(OLD) - 'last_login_at' THEN
    NEW.customer_number := 'v' || nextval('fault_version');
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER fault_mark BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fault_mark();

-- A change of a credential marks its user too, but only where the id is even: of the others a lost credential
-- change is not covered up by the user's own row.
CREATE FUNCTION fault_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE users SET updated_at = clock_timestamp() WHERE id % 2 = 0 AND id IN (
    CASE WHEN TG_OP <> 'INSERT' THEN OLD.user_id END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.user_id END);
  RETURN NULL;
END $$;

CREATE TRIGGER fault_touch AFTER INSERT OR UPDATE OR DELETE ON credentials
  FOR EACH ROW EXECUTE FUNCTION fault_touch();
