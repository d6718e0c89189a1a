//! Policy of rules from settings.
