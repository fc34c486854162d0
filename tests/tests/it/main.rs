//! Every test that drives the real programs against the stand-in world, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests: at once"
)]

mod backup_clock;
mod backup_faults;
mod backup_inject;
mod backup_jobs;
mod backup_offsite;
mod backup_restore;
mod backup_states;
mod bot_backlog;
mod bot_buttons;
mod bot_commands;
mod bot_disk;
mod bot_distress;
mod bot_enclosures;
mod bot_forget;
mod bot_gateway;
mod bot_https;
mod bot_interactions;
mod bot_life;
mod bot_models;
mod bot_overhear;
mod bot_owner;
mod bot_predecessor;
mod bot_quiet;
mod bot_rest;
mod bot_scope;
mod bot_settings;
mod bot_talk;
mod bot_tongues;
mod chaos;
mod disk_lies;
mod house;
mod logs_disk;
mod logs_forward;
mod logs_life;
mod logs_model;
mod logs_receivers;
mod logs_test_sink;
mod nas_compose;
mod nas_demo;
mod nas_engine;
mod nas_files;
mod nas_first_start;
mod nas_guides;
mod nas_life;
mod nas_owner;
mod nas_upgrade;
mod proof_pages;
mod status_browser;
mod status_page;
mod status_story;
mod story;
mod tidy;
mod world;
