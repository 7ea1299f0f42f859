insert into countries (country, zone) values
    ('United Kingdom', 'home'), ('Channel Islands', 'near'), ('EIRE', 'near'),
    ('Austria', 'europe'), ('Belgium', 'europe'), ('Cyprus', 'europe'), ('Czech Republic', 'europe'),
    ('Denmark', 'europe'), ('Finland', 'europe'), ('France', 'europe'), ('Germany', 'europe'), ('Greece', 'europe'),
    ('Iceland', 'europe'), ('Italy', 'europe'), ('Lithuania', 'europe'), ('Malta', 'europe'),
    ('Netherlands', 'europe'), ('Norway', 'europe'), ('Poland', 'europe'), ('Portugal', 'europe'),
    ('Spain', 'europe'), ('Sweden', 'europe'), ('Switzerland', 'europe'),
    ('Unspecified', 'nowhere'), ('European Community', 'nowhere');

insert into rates (zone, currency, from_units, base_minor, each_minor) values
    ('home', 'GBP', 1, 395, 10), ('home', 'GBP', 50, 895, 5), ('home', 'GBP', 500, 2995, 2),
    ('near', 'GBP', 1, 595, 15), ('near', 'GBP', 50, 1395, 8), ('near', 'GBP', 500, 4995, 4),
    ('europe', 'GBP', 1, 995, 20), ('europe', 'GBP', 50, 1995, 12), ('europe', 'GBP', 500, 7495, 6),
    ('world', 'GBP', 1, 1495, 40), ('world', 'GBP', 50, 3495, 25), ('world', 'GBP', 500, 14995, 15);
