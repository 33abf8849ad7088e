"""What reviewers ask of a run: model card, datasheet, Croissant metadata, checklists, references."""
