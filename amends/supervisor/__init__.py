"""What keeps actors alive: actors whose turns a runtime decides, mailboxes that outlive them, supervisors."""
